using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>Compares what hangs on the lease with what is wanted here.</summary>
internal sealed partial class LockSession
{
    // When nothing is wanted: what was left by a member that was frozen may still appear, however late.
    private static readonly TimeSpan IdlePause = TimeSpan.FromSeconds(30);

    private long _looked;

    private async Task LookAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            await Task.Delay(Ttl / 3, _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (_stop.IsCancellationRequested || !HasToLook())
                continue;
            try
            {
                await LookOnceAsync(_stop.Token).ConfigureAwait(false);
                _looked = _time.GetTimestamp();
                lock (_lock)
                    _looksLeft--;
            }
            catch (Exception exception) when (!_stop.IsCancellationRequested)
            {
                Log.NotLooked(_logger, exception, Id);
            }
            catch (Exception) when (_stop.IsCancellationRequested)
            {
                return;
            }
        }
    }

    private bool HasToLook()
    {
        if (_missing.Count > 0 || _time.GetElapsedTime(_looked) > IdlePause)
            return true;
        lock (_lock)
            return _strangers.Count > 0 || _wanted.Count > 0 || _looksLeft > 0;
    }

    private async Task LookOnceAsync(CancellationToken cancellationToken)
    {
        Dictionary<string, LockHandle?> before;
        lock (_lock)
            before = new(_wanted);
        var keys = await _link.KeysAsync(cancellationToken).ConfigureAwait(false);
        var there = keys.ToLookup(LockLayout.EntryOf, StringComparer.Ordinal);
        LoseMissing([.. before.Where(pair => pair.Value is not null && !there.Contains(pair.Key)).Select(pair => pair.Value!)]);
        await RemoveStrangersAsync(keys.Where(key => IsOurs(LockLayout.EntryOf(key)) && !before.ContainsKey(LockLayout.EntryOf(key))), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>What was missing at the last look too is lost: the member that lists the keys may be behind for a moment.</summary>
    private void LoseMissing(LockHandle[] missing)
    {
        foreach (var handle in missing.Where(_missing.Contains))
            Lose(handle, "its key was deleted");
        _missing = [.. missing];
    }

    /// <summary>Removes what was a stranger at the last look too: one seen once may be on its way out.</summary>
    private async Task RemoveStrangersAsync(IEnumerable<string> strangers, CancellationToken cancellationToken)
    {
        string[] again;
        lock (_lock)
        {
            var seen = _strangers;
            _strangers = strangers.Where(key => !_wanted.ContainsKey(LockLayout.EntryOf(key))).ToDictionary(LockLayout.EntryOf);
            again = [.. _strangers.Where(pair => seen.ContainsKey(pair.Key)).Select(pair => pair.Value)];
            // From here on nobody comes to want it.
            foreach (var key in again)
                _ids.Discard(LockLayout.EntryOf(key)[(LockLayout.EntryOf(key).IndexOf('-') + 1)..]);
        }

        foreach (var key in again)
        {
            await _link.RemoveAsync(key, cancellationToken).ConfigureAwait(false);
            Log.StrangerRemoved(_logger, Id, key);
        }
    }

    /// <summary>Made for a request of ours, and not one of the session's own keys or somebody else's on the same lease.</summary>
    private bool IsOurs(string entry) => entry.StartsWith($"{EtcdKeys.LeaseId(Id)}-", StringComparison.Ordinal);

    private static partial class Log
    {
        [LoggerMessage(104, LogLevel.Error, "Lock session {Session:x} is lost with the {Count} locks that were held by it: {Reason}")]
        public static partial void Lost(ILogger logger, long session, int count, string reason);

        [LoggerMessage(112, LogLevel.Information, "Lock session {Session:x} ends and releases the {Count} locks that are still held by it: {Reason}")]
        public static partial void Ended(ILogger logger, long session, int count, string reason);

        [LoggerMessage(105, LogLevel.Error, "Lock {Name} with token {Token} is lost: {Reason}")]
        public static partial void OneLost(ILogger logger, string name, long token, string reason);

        [LoggerMessage(106, LogLevel.Debug, "Lock session {Session:x} cannot be watched at the moment")]
        public static partial void NotWatched(ILogger logger, Exception exception, long session);

        [LoggerMessage(107, LogLevel.Debug, "Lock session {Session:x} could not be looked at")]
        public static partial void NotLooked(ILogger logger, Exception exception, long session);

        [LoggerMessage(108, LogLevel.Information, "A lock of session {Session:x} could not be given back yet; it is tried again")]
        public static partial void NotRemoved(ILogger logger, Exception exception, long session);

        [LoggerMessage(109, LogLevel.Information, "Lock session {Session:x} could not be ended and is left to expire")]
        public static partial void LeftToExpire(ILogger logger, Exception exception, long session);

        [LoggerMessage(110, LogLevel.Warning, "Lock session {Session:x} held {Key}, which nobody wants any more; it was removed")]
        public static partial void StrangerRemoved(ILogger logger, long session, string key);
    }
}
