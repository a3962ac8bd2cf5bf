"""The native part, which is optional: without a compiler fasthash is all Python, and slower."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "fasthash._native",
            ["fasthash/_native.c"],
            extra_compile_args=["-O2", "-Wall"],
            optional=True,
        )
    ]
)
