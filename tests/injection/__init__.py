"""Runs that are killed, or that find a full disk, a folder gone or a file replaced."""
