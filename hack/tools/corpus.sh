#!/bin/sh
# Brings the corpus of real source packages into the cache and prints its folder. See hack/corpus/fetch.
exec "$(dirname "$0")/../corpus/fetch"
