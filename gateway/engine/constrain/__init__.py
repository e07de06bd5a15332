"""Answers held to a form: grammars written in the gateway, enforced token by token in the child."""
