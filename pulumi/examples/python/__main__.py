"""What `pulumi up` runs."""

from analytics import analytics

analytics()
