"""Real clients that speak HTTP/2: curl, h2load, httpx and Chromium."""
