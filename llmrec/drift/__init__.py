"""Drift: windows of behaviour, their signatures and surprise, conformal p-values, and streams with few false alarms."""
