"""Networks, one file each; these rooms need torch: `pip install "tamperscope[train]"`."""
