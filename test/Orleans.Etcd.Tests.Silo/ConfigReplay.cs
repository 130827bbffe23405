namespace Orleans.Etcd.Tests.Silo;

/// <summary>Builds a namespace up from what a subscription tells, and notes whatever it should not have told.</summary>
public sealed class ConfigReplay(string keyPrefix = "")
{
    private readonly object _lock = new();
    private readonly List<string> _faults = [];
    private Dictionary<string, string> _values = new(StringComparer.Ordinal);

    public long Revision { get; private set; }

    public int Snapshots { get; private set; }

    public int Deltas { get; private set; }

    public IReadOnlyList<string> Faults
    {
        get
        {
            lock (_lock)
                return [.. _faults];
        }
    }

    public Dictionary<string, string> Values
    {
        get
        {
            lock (_lock)
                return new(_values);
        }
    }

    public Task OnAsync(ConfigNotification notification)
    {
        On(notification);
        return Task.CompletedTask;
    }

    public void On(ConfigNotification notification)
    {
        lock (_lock)
        {
            if (notification.Revision <= Revision)
                _faults.Add($"revision {notification.Revision} after {Revision}");
            if (notification.PreviousRevision != Revision)
                _faults.Add($"{notification.Revision} follows {notification.PreviousRevision}, and {Revision} was the last");
            if (notification.Snapshot is { } snapshot)
            {
                Snapshots++;
                _values = snapshot.ToDictionary(pair => pair.Key, pair => pair.Value.Text);
            }
            else
            {
                Deltas++;
                if (notification.Changes.IsEmpty)
                    _faults.Add($"{notification.Revision} changes nothing");
                foreach (var change in notification.Changes)
                    Apply(notification.Revision, change);
            }

            _faults.AddRange(_values.Keys.Where(key => !key.StartsWith(keyPrefix, StringComparison.Ordinal)).Select(key => $"{key} was not asked for"));
            Revision = notification.Revision;
        }
    }

    private void Apply(long revision, ConfigChange change)
    {
        if (_values.GetValueOrDefault(change.Key) != change.Old?.Text)
            _faults.Add($"{revision}: the old value of {change.Key} is another");
        if (change.New is { } value)
            _values[change.Key] = value.Text;
        else
            _values.Remove(change.Key);
    }
}
