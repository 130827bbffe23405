using dotnet_etcd.interfaces;
using Etcdserverpb;
using Grpc.Core;

namespace Orleans.Etcd;

public sealed partial class EtcdConnection
{
    /// <summary>
    /// Opens a stream on the member in use, or on another one than <paramref name="avoided"/>. It ends by itself when the
    /// member loses its leader, and is cancelled when a call on that member hangs or it does not answer a probe.
    /// </summary>
    internal async Task<EtcdStream<TRequest, TResponse>> OpenAsync<TRequest, TResponse>(
        string operation,
        Func<IConnection, CallOptions, AsyncDuplexStreamingCall<TRequest, TResponse>> open,
        EtcdEndpoint? avoided,
        CancellationToken cancellationToken)
        where TRequest : class
        where TResponse : class
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return Open(operation, open, avoided, await TokenAsync(Time.GetTimestamp(), cancellationToken).ConfigureAwait(false), cancellationToken);
    }

    /// <summary>
    /// Opens a stream for renewals, with the token if that can be had soon: etcd demands it since 3.4.42, 3.5.28 and 3.6.9, and what is
    /// older renews without, while the lease would be lost for the wait.
    /// </summary>
    internal async Task<EtcdStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>> OpenRenewalsAsync(EtcdEndpoint? avoided, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        string? token = null;
        try
        {
            if (_token is not null)
                token = await _token.GetAsync((RenewalPatience < Options.RequestTimeout ? RenewalPatience : Options.RequestTimeout) / 2, Time, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is EtcdException or TimeoutException)
        {
            // It is fetched on, for the next one.
        }

        return Open("LeaseKeepAlive", static (c, o) => c.LeaseClient.LeaseKeepAlive(o), avoided, token, cancellationToken);
    }

    private EtcdStream<TRequest, TResponse> Open<TRequest, TResponse>(
        string operation,
        Func<IConnection, CallOptions, AsyncDuplexStreamingCall<TRequest, TResponse>> open,
        EtcdEndpoint? avoided,
        string? token,
        CancellationToken cancellationToken)
        where TRequest : class
        where TResponse : class
    {
        var (endpoint, suspected) = _pool.Other(avoided);
        var life = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, suspected);
        try
        {
            var headers = Headers(token) ?? [];
            headers.Add("hasleader", "true");
            var call = open(endpoint.Connection, new CallOptions(headers, cancellationToken: life.Token));
            endpoint.StreamOpened();
            LookAfterStreams();
            return new EtcdStream<TRequest, TResponse>(call, endpoint, token, life, (exception, used) => Translate(operation, endpoint, exception, used));
        }
        catch
        {
            life.Dispose();
            throw;
        }
    }

    /// <summary>The exception of a stream that ended; its token is dropped where that is to blame.</summary>
    private EtcdException Translate(string operation, EtcdEndpoint endpoint, Exception exception, string? token)
    {
        var failure = CallFailure.Classify(exception);
        if (failure.BlamesToken)
            Invalidate(token);
        return failure.ToException(operation, isWrite: false, endpoint.Address.GetLeftPart(UriPartial.Authority));
    }
}
