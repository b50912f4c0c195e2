"""The Pulumi provider `heliosproxy`: the same objects as kubectl apply, by one table.

`marshal` and `servicer` speak Pulumi's provider protocol, `properties` says what a program's properties mean,
`schema` makes `pulumi/schema.json`. Started by Pulumi as `pulumi-resource-heliosproxy`.
"""
