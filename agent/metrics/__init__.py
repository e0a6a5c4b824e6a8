"""Metrics for those who scrape: health as OpenMetrics text and as a yes or no, over HTTP on loopback."""
