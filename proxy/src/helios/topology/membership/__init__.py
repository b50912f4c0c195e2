"""Which servers belong to a cluster where somebody else knows that, and hints of what he is about to do.

`provider` is what each source offers, `patroni` and `dns` are the sources; `watch` asks them, made by `helios.running`.
Where the operator knows, it pushes a document instead. Who is primary is decided by evidence all the same.
"""
