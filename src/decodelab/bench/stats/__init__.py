"""What a sweep says: intervals, paired differences, winners, Pareto fronts."""
