"""What the Terraform and the Pulumi provider share: one table of attributes, one CRUD, one validator, one wait.

`fields` is the table, `values` translates by it, `validate` judges, `connection` and `session` reach the API server,
`operations` creates, reads, changes and deletes, `conditions` waits. The providers translate between this and their
protocols, and decide nothing.
"""
