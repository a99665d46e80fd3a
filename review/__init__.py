"""The review: where people settle what the model may not answer alone, and the evidence of what they did."""
