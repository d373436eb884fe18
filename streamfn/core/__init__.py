"""The pure core: what becomes of records, decided without a clock, a loop or I/O.

Standard library only. Facts come in as arguments (the present time among them), decisions go out as values;
the effects that follow are the engine's.
"""
