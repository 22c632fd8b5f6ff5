"""Folders of images of any size and kind, prepared as arrays that every network reads."""

from covary.images.prepare import PreparedImages, Summary, load, prepare

__all__ = ["PreparedImages", "Summary", "load", "prepare"]
