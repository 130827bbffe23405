namespace Orleans.Configuration;

/// <summary>Says which option is out of its range, and what that is.</summary>
internal static class OptionRange
{
    /// <param name="option">The option with its class, as the user finds it.</param>
    /// <param name="value">What it is set to.</param>
    /// <param name="least">The least that is allowed.</param>
    /// <param name="most">The most that is allowed.</param>
    /// <param name="failures">Where a value out of range is added.</param>
    public static void Check<T>(string option, T value, T least, T most, List<string> failures)
        where T : IComparable<T>
    {
        if (value.CompareTo(least) < 0 || value.CompareTo(most) > 0)
            failures.Add($"{option} is {value}; it must lie between {least} and {most}.");
    }
}
