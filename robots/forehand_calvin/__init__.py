"""The benchmark CALVIN (Mees et al. 2022): driver of ``calvin_env``, chains of five instructions, their oracle."""
