using System.Globalization;
using System.Text.RegularExpressions;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>One time that somebody held the lock, by their own belief, in microseconds of Unix time.</summary>
/// <param name="Who">Who it was.</param>
/// <param name="Token">The token; 0 where there is none to be known.</param>
/// <param name="From">When it was first sure to be held.</param>
/// <param name="To">When it was last sure to be held; the same where its holder died in between.</param>
internal sealed record Hold(string Who, long Token, long From, long To);

/// <summary>Who held one lock and when, from what many processes of one machine have written.</summary>
internal sealed partial class HoldHistory
{
    private readonly List<Hold> _holds = [];

    public IReadOnlyList<Hold> Holds => _holds;

    /// <summary>Adds what one process has written: each exit belongs to the last enter of its token.</summary>
    public void Add(string who, string output)
    {
        var entered = new Dictionary<long, int>();
        foreach (var line in Line().Matches(output).AsEnumerable())
        {
            var (token, time) = (Number(line.Groups[2].Value), Number(line.Groups[3].Value));
            if (line.Groups[1].Value == "enter")
            {
                entered[token] = _holds.Count;
                _holds.Add(new Hold(who, token, time, time));
            }
            else
            {
                _holds[entered[token]] = _holds[entered[token]] with { To = time };
            }
        }
    }

    public void Add(Hold hold) => _holds.Add(hold);

    /// <summary>What is wrong with it: two at once, or a token that is not higher than the one before.</summary>
    public IEnumerable<string> Faults()
    {
        var sorted = _holds.OrderBy(hold => hold.From).ToArray();
        // The one that lasted longest so far, which need not be the last to have begun.
        var longest = sorted[0];
        var highest = longest.Token;
        foreach (var next in sorted.Skip(1))
        {
            if (next.From <= longest.To)
                yield return $"{next} began while {longest} held it";
            if (next.Token != 0 && next.Token <= highest)
                yield return $"{next} came after token {highest}";
            longest = next.To > longest.To ? next : longest;
            highest = Math.Max(highest, next.Token);
        }
    }

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(enter|exit) (\d+) (\d+)\r?$", RegexOptions.Multiline)]
    private static partial Regex Line();
}
