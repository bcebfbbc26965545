"""Parts of a cache: a bounded LRU cache, and one request for concurrent callers."""
