# The form that every board runs, and that says what each function does. How viper is written here
# is said in attn8/kernels/__init__.py.
