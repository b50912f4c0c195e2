"""What Helios tells about itself: logs (`logs`) and Prometheus metrics (`metrics`)."""
