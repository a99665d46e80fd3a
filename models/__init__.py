"""The small language models: bundles, policies, classification and evaluation, without Beam."""

import os

# ONNX Runtime reports its use to its maker, and writes below HOME, from the moment it is imported; afterwards nothing
# stops it. Every module of Docyard that imports it lies below this package, so this line always comes first. It is set,
# not proposed: a run that leaves no trace elsewhere is a promise, which no inherited environment may break.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
