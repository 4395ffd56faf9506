"""Mutated files, each of which must give the right answer or a clear error.

A kind of file has three functions. ``prepare(folder)`` returns the sound material, ``mutate(rng,
material, folder)`` writes one `Mutant` of it, and ``check(mutant, material)`` uses that through the
public interface: it returns if the answer is right, lets the library's error pass, and fails an
assertion if the answer is wrong. Every choice comes from the seed of the mutant, so
``python -m tests.fuzz --kinds headers --seed 17`` repeats one of them.
"""
