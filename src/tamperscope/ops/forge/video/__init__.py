"""Forging of clips: removal and paste over frames that move with one camera, with effects kept apart."""
