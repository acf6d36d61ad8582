"""The clients that tests are given: each knows what a test took from it and has not given back, and where."""
