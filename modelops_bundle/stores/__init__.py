"""Places that hold blobs, manifests and tags."""
