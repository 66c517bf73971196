"""Tests of keepserve behind balancers: a stand-in with exact timing, and real ones."""
