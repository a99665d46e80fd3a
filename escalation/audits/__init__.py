"""Audits: accepted answers that people judge blind, the bounds on their error, and the labels that are demoted."""
