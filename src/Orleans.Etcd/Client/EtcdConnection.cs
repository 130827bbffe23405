using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// The connection to one etcd cluster, shared by everything in a process that uses the same options. Thread safe.
/// </summary>
/// <remarks>
/// <para>Every call has a deadline (<see cref="EtcdOptions.RequestTimeout"/>), observes its token and fails with
/// <see cref="EtcdException"/>. Reads are tried again, on the next member if there is one; a write is tried again only
/// when it is certain that it was not applied, else <see cref="EtcdException.OutcomeUnknown"/> says so.</para>
/// <para>Survives: the loss of any member while a quorum is left (a frozen one costs the calls in flight a fifth
/// of a timeout, or all of it where they may not be repeated), the restart of all, the expiry of an authentication token. Nothing is buffered: during an outage calls
/// fail after at most twice the timeout.</para>
/// <example><code>
/// await using var etcd = new EtcdConnection(new EtcdOptions { Endpoints = { "http://127.0.0.1:2379" } });
/// await etcd.PutAsync(new PutRequest { Key = ByteString.CopyFromUtf8("a"), Value = ByteString.CopyFromUtf8("1") });
/// </code></example>
/// </remarks>
public sealed partial class EtcdConnection : IAsyncDisposable, IDisposable
{
    private static readonly TimeSpan RenewalPatience = TimeSpan.FromSeconds(1);

    // So that not all streams of all processes come back at one moment.
    private static readonly TimeSpan AfterRecovery = TimeSpan.FromMilliseconds(200);

    private readonly ILogger _logger;
    private readonly EndpointPool _pool;
    private readonly AuthToken? _token;
    private int _disposed;

    /// <summary>Makes a connection. Nothing is sent before the first call.</summary>
    /// <param name="options">Checked as a whole; later changes are not seen.</param>
    /// <param name="loggerFactory">Where to log; default nowhere.</param>
    /// <param name="timeProvider">
    /// The clock of leases and pauses, and of the time that a call has taken; default the system's. A single attempt is
    /// ended by the system's timers.
    /// </param>
    /// <exception cref="OptionsValidationException">The options are not usable; all reasons are named.</exception>
    public EtcdConnection(EtcdOptions options, ILoggerFactory? loggerFactory = null, TimeProvider? timeProvider = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        var result = new EtcdOptionsValidator().Validate(null, options);
        if (result.Failed)
            throw new OptionsValidationException(Microsoft.Extensions.Options.Options.DefaultName, typeof(EtcdOptions), result.Failures);

        Options = options.Copy();
        LoggerFactory = loggerFactory ?? NullLoggerFactory.Instance;
        Time = timeProvider ?? TimeProvider.System;
        _logger = LoggerFactory.CreateGuarded<EtcdConnection>();
        _pool = new EndpointPool(Options, Time);
        if (!string.IsNullOrEmpty(Options.UserName))
            _token = new AuthToken(AuthenticateAsync);
        Leases = new LeaseKeeper(this);
    }

    /// <summary>The client URLs in use.</summary>
    public IReadOnlyList<Uri> Endpoints => _pool.Addresses;

    internal EtcdOptions Options { get; }

    internal ILoggerFactory LoggerFactory { get; }

    internal TimeProvider Time { get; }

    internal LeaseKeeper Leases { get; }

    internal string Description => _pool.Description;

    internal bool IsDisposed => Volatile.Read(ref _disposed) != 0;

    /// <summary>Reads a key or a range.</summary>
    /// <param name="request">The request; linearizable unless it says otherwise.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>etcd's answer.</returns>
    /// <exception cref="EtcdException">The read failed.</exception>
    public Task<RangeResponse> RangeAsync(RangeRequest request, CancellationToken cancellationToken = default) =>
        CallAsync("Range", CallKind.Read, request, static (c, r, o) => c.KVClient.RangeAsync(r, o), cancellationToken);

    /// <summary>Writes a key. A put whose outcome is unknown is not repeated.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Ends the wait; the put may still be applied.</param>
    /// <returns>etcd's answer.</returns>
    /// <exception cref="EtcdException">The put failed, or its outcome is unknown.</exception>
    public Task<PutResponse> PutAsync(PutRequest request, CancellationToken cancellationToken = default) =>
        CallAsync("Put", CallKind.Write, request, static (c, r, o) => c.KVClient.PutAsync(r, o), cancellationToken);

    /// <summary>Deletes a key or a range. A delete whose outcome is unknown is not repeated.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Ends the wait; the delete may still be applied.</param>
    /// <returns>etcd's answer.</returns>
    /// <exception cref="EtcdException">The delete failed, or its outcome is unknown.</exception>
    public Task<DeleteRangeResponse> DeleteRangeAsync(DeleteRangeRequest request, CancellationToken cancellationToken = default) =>
        CallAsync("DeleteRange", CallKind.Write, request, static (c, r, o) => c.KVClient.DeleteRangeAsync(r, o), cancellationToken);

    /// <summary>Runs a transaction. One that writes and whose outcome is unknown is not repeated.</summary>
    /// <param name="request">The request; at most 128 comparisons and 128 operations in a branch.</param>
    /// <param name="cancellationToken">Ends the wait; the transaction may still be applied.</param>
    /// <returns>etcd's answer.</returns>
    /// <exception cref="EtcdException">The transaction failed, or its outcome is unknown.</exception>
    public Task<TxnResponse> TxnAsync(TxnRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        var kind = request.Success.Concat(request.Failure).All(op => op.RequestCase == RequestOp.RequestOneofCase.RequestRange) ? CallKind.Read : CallKind.Write;
        return CallAsync("Txn", kind, request, static (c, r, o) => c.KVClient.TxnAsync(r, o), cancellationToken);
    }

    /// <summary>A put that is harmless when applied twice or late, such as a heartbeat on a key of one's own.</summary>
    internal Task<PutResponse> PutRepeatablyAsync(PutRequest request, CancellationToken cancellationToken) =>
        CallAsync("Put", CallKind.RepeatableWrite, request, static (c, r, o) => c.KVClient.PutAsync(r, o), cancellationToken);

    /// <summary>
    /// A transaction whose comparisons keep it from being applied twice. One that is applied late, when its sender has long
    /// gone on, is the sender's to think of.
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <param name="unanswered">Told of each attempt that may have been applied and was not answered: the answer may be to another one.</param>
    /// <param name="insists">Whether a single member that kept silent is asked once more.</param>
    internal Task<TxnResponse> TxnRepeatablyAsync(TxnRequest request, CancellationToken cancellationToken, Action? unanswered = null, bool insists = false) =>
        CallAsync("Txn", insists ? CallKind.IdentifiedWrite : CallKind.RepeatableWrite, request, static (c, r, o) => c.KVClient.TxnAsync(r, o), cancellationToken, unanswered: unanswered);

    /// <summary>Deletes what nobody makes again.</summary>
    internal Task<DeleteRangeResponse> DeleteRepeatablyAsync(ByteString key, CancellationToken cancellationToken) =>
        CallAsync("DeleteRange", CallKind.RepeatableWrite, new DeleteRangeRequest { Key = key }, static (c, r, o) => c.KVClient.DeleteRangeAsync(r, o), cancellationToken);

    /// <summary>What is left of a lease, not above 0 where it is gone, and the keys that hang on it if asked for.</summary>
    internal Task<LeaseTimeToLiveResponse> TimeToLiveAsync(long leaseId, bool keys, CancellationToken cancellationToken) =>
        CallAsync("LeaseTimeToLive", CallKind.Read, new LeaseTimeToLiveRequest { ID = leaseId, Keys = keys }, static (c, r, o) => c.LeaseClient.LeaseTimeToLiveAsync(r, o), cancellationToken);

    /// <summary>Renews a lease once, for somebody else; answers its TTL, not above 0 where it is gone.</summary>
    internal async Task<TimeSpan> RenewOnceAsync(long leaseId, CancellationToken cancellationToken)
    {
        EtcdEndpoint? avoided = null;
        for (var attempt = 0; ; attempt++)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            // Soon another member is asked: the lease has not the time to wait for one that hangs.
            limit.CancelAfter(avoided is null ? RenewalPatience : Options.RequestTimeout);
            using var stream = await OpenRenewalsAsync(avoided, limit.Token).ConfigureAwait(false);
            try
            {
                await stream.WriteAsync(new LeaseKeepAliveRequest { ID = leaseId }).ConfigureAwait(false);
                if (await stream.MoveNextAsync().ConfigureAwait(false))
                    return TimeSpan.FromSeconds(stream.Current.TTL);
                throw new EtcdException(EtcdErrorCode.Unavailable, "LeaseKeepAlive", $"etcd at {stream.Endpoint.Address} closed the stream without an answer.", outcomeUnknown: false);
            }
            catch (EtcdException exception) when (avoided is null && attempt < 2 && !cancellationToken.IsCancellationRequested)
            {
                if (limit.IsCancellationRequested)
                    NoteSilence(stream.Endpoint);
                // A token that was refused is no fault of the member's.
                if (exception.Code != EtcdErrorCode.AuthenticationFailed)
                    avoided = stream.Endpoint;
            }
        }
    }

    /// <summary>Grants a lease under an id of the caller's own, so that asking again finds the one granted before instead of making two.</summary>
    internal async Task<LeaseGrantResponse> GrantAsync(LeaseGrantRequest request, CancellationToken cancellationToken)
    {
        var repeated = false;
        try
        {
            return await CallAsync("LeaseGrant", CallKind.IdentifiedWrite, request, static (c, r, o) => c.LeaseClient.LeaseGrantAsync(r, o), cancellationToken, unanswered: () => repeated = true).ConfigureAwait(false);
        }
        catch (EtcdException exception) when (repeated && CallFailure.IsLeaseThere(exception))
        {
            return new LeaseGrantResponse { ID = request.ID, TTL = request.TTL };
        }
    }

    internal Task<LeaseRevokeResponse> RevokeAsync(long leaseId, CancellationToken cancellationToken) =>
        CallAsync("LeaseRevoke", CallKind.RepeatableWrite, new LeaseRevokeRequest { ID = leaseId }, static (c, r, o) => c.LeaseClient.LeaseRevokeAsync(r, o), cancellationToken);

    /// <summary>Says that nothing came from a member for as long as it takes to say so.</summary>
    internal void NoteSilence(EtcdEndpoint endpoint)
    {
        if (_pool.NoteSilence(endpoint))
            Log.Reconnecting(_logger, endpoint.Address, Options.ConnectTimeout);
    }

    /// <summary>Completes when a member answers a call next that did not before, or any after a while. To be asked for before the attempt that it may be later than.</summary>
    internal Task Recovered => _pool.Recovered;

    /// <summary>A pause before another attempt at a stream; cut short, but for a little, where calls succeed again.</summary>
    internal async Task PauseAsync(TimeSpan pause, Task recovered, CancellationToken cancellationToken)
    {
        var waiting = Task.Delay(Backoff.Jittered(pause), Time, cancellationToken);
        await Task.WhenAny(waiting, recovered).ConfigureAwait(false);
        if (!waiting.IsCompleted)
            await Task.WhenAny(waiting, Task.Delay(Backoff.Jittered(AfterRecovery), Time, cancellationToken)).ConfigureAwait(false);
    }

    /// <summary>Says that something came over a stream.</summary>
    internal void NoteSign(EtcdEndpoint endpoint) => _pool.NoteSign(endpoint);

    /// <summary>Says that etcd refused this token, so that the next call or stream fetches a new one.</summary>
    internal void Invalidate(string? token)
    {
        if (_token is null || token is null)
            return;
        Log.TokenRefused(_logger);
        _token.Invalidate(token);
    }

    /// <summary>What a call or a stream throws when etcd, or the way to it, fails.</summary>
    internal static bool IsFailure(Exception exception) =>
        exception is RpcException or HttpRequestException or IOException or OperationCanceledException or ObjectDisposedException;

    /// <summary>Closes all channels. Calls under way fail; leases are not revoked, they expire.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await Leases.DisposeAsync().ConfigureAwait(false);
        _pool.Dispose();
    }

    /// <inheritdoc cref="DisposeAsync" />
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        Leases.Stop();
        _pool.Dispose();
    }

    private static Grpc.Core.Metadata? Headers(string? token) => token is null ? null : new Grpc.Core.Metadata { { "authorization", token } };

    private async Task<string> AuthenticateAsync()
    {
        // Runs for all callers, so none of their tokens ends it; the timeout of the call does.
        var request = new AuthenticateRequest { Name = Options.UserName, Password = Options.Password };
        var response = await CallAsync("Authenticate", CallKind.Read, request, static (c, r, o) => c.AuthClient.AuthenticateAsync(r, o), CancellationToken.None, withToken: false).ConfigureAwait(false);
        return response.Token;
    }
}
