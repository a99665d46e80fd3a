"""Reports of runs: figures of their manifests, pages and tables made of them."""
