"""What runs within functions, in the interpreter of each: nothing here is imported by streamfn."""
