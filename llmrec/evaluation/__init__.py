"""Metrics, intervals, report rows, and the simple controls that every table needs. numpy and scipy only."""
