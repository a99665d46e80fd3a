"""The small language models: bundles, policies, classification and evaluation, without Beam."""
