"""A concurrent web crawler and downloader: polite, exact, and impossible to make lose a page."""

__version__ = "0.1.0"
