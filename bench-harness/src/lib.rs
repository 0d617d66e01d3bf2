//! Latency harness: the device floor, the engine and its peers in one run, with a verdict.
