"""Measurements that compare with something: each prints its figures, the ratio, and how it was taken."""
