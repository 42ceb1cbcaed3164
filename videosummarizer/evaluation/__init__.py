"""How good scores are: metrics, the choice of the operating point, reports and plots."""
