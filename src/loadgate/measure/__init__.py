"""How requests become numbers: histograms, the recorder and windows."""
