"""The server: every strategy over the HTTP APIs that people use.

It adds no algorithm: a request becomes a strategy, limits and a seed, the engine of its model runs it beside all
others, and what the engine tells becomes the API's JSON.
"""
