"""The toolchain, room by room; `import adafire` is its face, and ARCHITECTURE.md the plan of the house."""
