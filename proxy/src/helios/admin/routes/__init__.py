"""One module a resource of the admin API; each has `ROUTES`. Put together by `helios.admin.app`."""
