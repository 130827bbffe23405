using System.Text;
using Etcdserverpb;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>The three kinds of lock.</summary>
internal enum LockKind
{
    Mutex,
    Semaphore,
    ReadWrite,
}

/// <summary>
/// One lock's keys, and the one rule by which all kinds are granted: a request is granted once fewer than
/// <see cref="LockClaim.Allowed"/> keys of its <see cref="LockClaim.Ahead"/> were created before its own, but for those whose
/// holders have given them up (<see cref="LockQueue"/>).
/// </summary>
/// <remarks>
/// Invariant: what is granted stays granted until its key goes. Keys only ever come after those that are there, so that
/// the number of those before a key never rises.
/// </remarks>
internal sealed class LockLayout
{
    /// <summary>A wait is given up by a transaction that compares as many keys and one more; etcd takes 128 by default.</summary>
    public const int MaxPermits = 100;

    private const int MaxRequestId = 64;
    private const int MaxOwner = 256;

    private readonly LockKind _kind;
    private readonly string _keyPrefix;
    private readonly string _serviceId;
    private readonly string _writers;
    private readonly byte[] _readersUtf8;
    private readonly byte[] _writersUtf8;

    public LockLayout(string keyPrefix, string serviceId, LockKind kind, string name)
    {
        (_keyPrefix, _serviceId, _kind) = (keyPrefix, serviceId, kind);
        Name = name;
        Prefix = EtcdKeys.Lock(keyPrefix, serviceId, Room(kind), name);
        _writers = Prefix + "write/";
        _readersUtf8 = Encoding.UTF8.GetBytes(Prefix + "read/");
        _writersUtf8 = Encoding.UTF8.GetBytes(_writers);
    }

    public string Name { get; }

    public string Prefix { get; }

    public RangeRequest All => Txn.Range(Prefix);

    /// <summary>What a request stands for in keys.</summary>
    /// <exception cref="ArgumentException">It is not usable for this kind of lock.</exception>
    public LockClaim Claim(LockRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(request.Session, 0, nameof(LockRequest.Session));
        ArgumentOutOfRangeException.ThrowIfLessThan(request.MaxWait, TimeSpan.Zero, nameof(LockRequest.MaxWait));
        ArgumentOutOfRangeException.ThrowIfLessThan(request.Permits, 1, nameof(LockRequest.Permits));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(request.Permits, MaxPermits, nameof(LockRequest.Permits));
        if (request.Permits > 1 && _kind != LockKind.Semaphore)
            throw new ArgumentException("Only a semaphore has several permits.", nameof(request));
        if (request.IsRead && _kind != LockKind.ReadWrite)
            throw new ArgumentException("Only a reader-writer lock has readers.", nameof(request));
        ArgumentException.ThrowIfNullOrEmpty(request.RequestId, nameof(LockRequest.RequestId));
        if (request.RequestId.Length > MaxRequestId)
            throw new ArgumentException($"RequestId has {request.RequestId.Length} characters; at most {MaxRequestId} are allowed.", nameof(request));
        if (request.Owner is { } owner && (owner.Length > MaxOwner || !EtcdKeys.IsUtf8(owner)))
            throw new ArgumentException($"Owner must be valid Unicode of at most {MaxOwner} characters.", nameof(request));

        var mode = _kind != LockKind.ReadWrite ? "" : request.IsRead ? "read/" : "write/";
        var key = $"{Prefix}{mode}{Entry(request)}";
        var state = request.SessionRevision > 0 ? new SessionLayout(_keyPrefix, _serviceId, request.Session).StateKey : null;
        return new LockClaim(ByteString.CopyFromUtf8(key), request.Session, state, request.SessionRevision, Txn.Range(request.IsRead ? _writers : Prefix), request.Permits, request.IsRead);
    }

    /// <summary>The last segment of a request's key, which names it within its session.</summary>
    public static string Entry(LockRequest request) => $"{EtcdKeys.LeaseId(request.Session)}-{EtcdKeys.Escape(request.RequestId, nameof(LockRequest.RequestId))}";

    /// <summary>The last segment of a key.</summary>
    public static string EntryOf(string key) => key[(key.LastIndexOf('/') + 1)..];

    public bool HasReaders => _kind == LockKind.ReadWrite;

    /// <summary>Whether a key is a reader's, which has to wait for writers only.</summary>
    public bool IsRead(ByteString key) => HasReaders && key.Span.StartsWith(_readersUtf8);

    /// <summary>Whether readers have to wait for a key.</summary>
    public bool IsWrite(ByteString key) => !HasReaders || key.Span.StartsWith(_writersUtf8);

    private static string Room(LockKind kind) => kind switch
    {
        LockKind.Semaphore => "semaphores",
        LockKind.ReadWrite => "rwlocks",
        _ => "locks",
    };
}

/// <summary>One request in keys: its own, and those that it has to wait for.</summary>
/// <param name="Key">Its own key.</param>
/// <param name="Session">The lease that it hangs on.</param>
/// <param name="State">The key that says that its session is there; null for a lease without one.</param>
/// <param name="SessionRevision">When that was made.</param>
/// <param name="Ahead">The range whose keys come before it, if they were created before.</param>
/// <param name="Allowed">It is granted when fewer than so many do.</param>
/// <param name="IsRead">Whether those are the writers only.</param>
internal sealed record LockClaim(ByteString Key, long Session, ByteString? State, long SessionRevision, RangeRequest Ahead, int Allowed, bool IsRead)
{
    /// <summary>That it has no place yet and, where its session is known, may still be given one.</summary>
    public IEnumerable<Compare> IsToBeMade => State is null ? [Txn.CreateRevisionIs(Key, 0)] : [Txn.CreateRevisionIs(Key, 0), Txn.CreateRevisionIs(State, SessionRevision)];

    /// <summary>Whether its session has ended, as far as its key tells.</summary>
    public bool HasEnded(IEnumerable<KeyValue> state) => State is not null && state.FirstOrDefault()?.CreateRevision != SessionRevision;
}
