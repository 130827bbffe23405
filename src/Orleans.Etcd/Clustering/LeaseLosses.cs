using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>
/// Which silos' leases are gone while the table does not say that they are dead, and which of them went in a crowd.
/// </summary>
/// <remarks>
/// Invariants. (1) A lease that was seen and is gone is lost at once; whether its silo was known by then does not matter,
/// since a silo holds its lease before it joins. One that a silo in the table ought to have and that was never seen is lost
/// when it has been missing for a whole window: so that who starts later knows of losses too. (2) A loss is over when the lease is back or the silo dead. (3) Where more than half of
/// the leases went within one window, all that went in it stay marked for as long as they last, those that went first
/// included. One thread at a time; what a loss says may be read by others.
/// </remarks>
internal sealed class LeaseLosses(TimeProvider time)
{
    private readonly Dictionary<ByteString, Loss> _open = [];
    private readonly List<(ByteString Key, long At)> _gone = [];
    private readonly Dictionary<ByteString, long> _missing = [];
    private HashSet<ByteString> _held = [];

    public IReadOnlyCollection<Loss> Open => _open.Values;

    /// <summary>Whether leases are missing that were never seen: to be looked at again when the window has passed.</summary>
    public bool AnyMissing => _missing.Count > 0;

    /// <summary>Whether a lease is gone that was there at the last look, of a silo that is not known to be dead.</summary>
    public bool IsNews(IReadOnlySet<ByteString> present, IReadOnlySet<ByteString> dead) =>
        _held.Any(key => !present.Contains(key) && !_open.ContainsKey(key) && !dead.Contains(key));

    /// <param name="present">The keys of the leases that are there.</param>
    /// <param name="living">The keys and silos that the table does not say are dead.</param>
    /// <param name="window">Leases that go within this time of each other may have gone for one reason.</param>
    public void Update(IReadOnlySet<ByteString> present, IReadOnlyDictionary<ByteString, SiloAddress> living, TimeSpan window)
    {
        foreach (var over in _open.Keys.Where(key => present.Contains(key) || !living.ContainsKey(key)).ToArray())
        {
            _open[over].IsOver = true;
            _open.Remove(over);
        }

        var now = time.GetTimestamp();
        _gone.RemoveAll(gone => time.GetElapsedTime(gone.At, now) > window);
        foreach (var key in _held.Where(key => !present.Contains(key) && !_open.ContainsKey(key)))
        {
            // Who is not in the table has left, or never joined.
            if (!living.TryGetValue(key, out var silo))
                continue;
            _open.Add(key, new Loss(silo, now, wasNeverSeen: false));
            _gone.Add((key, now));
        }

        UpdateMissing(present, living, window, now);
        _held = [.. _open.Keys, .. present];
        // Those that have come back, or were evicted, went all the same.
        var lost = _gone.Select(gone => gone.Key).ToHashSet();
        if (lost.Count * 2 <= lost.Union(present.Where(living.ContainsKey)).Count())
            return;
        foreach (var key in lost)
        {
            if (_open.TryGetValue(key, out var loss))
                loss.InCrowd = true;
        }
    }

    private void UpdateMissing(IReadOnlySet<ByteString> present, IReadOnlyDictionary<ByteString, SiloAddress> living, TimeSpan window, long now)
    {
        foreach (var found in _missing.Keys.Where(key => present.Contains(key) || !living.ContainsKey(key)).ToArray())
            _missing.Remove(found);
        foreach (var (key, silo) in living)
        {
            if (present.Contains(key) || _open.ContainsKey(key))
                continue;
            if (_missing.TryAdd(key, now) || time.GetElapsedTime(_missing[key], now) <= window)
                continue;
            _missing.Remove(key);
            _open.Add(key, new Loss(silo, now, wasNeverSeen: true));
            _gone.Add((key, now));
        }
    }

    /// <summary>One silo's lease being gone.</summary>
    internal sealed class Loss(SiloAddress silo, long since, bool wasNeverSeen)
    {
        private volatile bool _isOver;
        private volatile bool _inCrowd;

        public SiloAddress Silo { get; } = silo;

        /// <summary>When it was noticed, as a timestamp.</summary>
        public long Since { get; } = since;

        /// <summary>The lease was already missing when this silo began to look.</summary>
        public bool WasNeverSeen { get; } = wasNeverSeen;

        /// <summary>The lease is back, or the silo dead.</summary>
        public bool IsOver
        {
            get => _isOver;
            set => _isOver = value;
        }

        /// <summary>It went together with more than half of all leases: that says little of the silo.</summary>
        public bool InCrowd
        {
            get => _inCrowd;
            set => _inCrowd = value;
        }
    }
}
