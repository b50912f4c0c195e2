"""The admin API: probes, metrics, what is known about nodes and pools, and reload, over HTTP.

`server` listens, `app` puts the routes together, `auth` and `errors` are its two middlewares, `models` the shapes of
the answers, `control` what it asks of the running proxy. Started by `helios.app`.
"""
