"""Evaluation: what a bundle is worth on labelled text, measured through the classifier and policy that runs use."""
