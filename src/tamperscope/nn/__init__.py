"""What networks share: parts and how they are trained. Needs torch: `pip install "tamperscope[train]"`."""
