"""Files of a run: what was asked (`runfile`) and what was measured (`series`)."""
