using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>
/// What a failed attempt means: whether the request may have been applied, whether another member may do better, and
/// whether the token is to blame. The rules follow etcd's own: authentication and validation are checked before a
/// request is proposed, a failed connection never carried one, and everything else may have been applied.
/// </summary>
/// <param name="Code">What went wrong.</param>
/// <param name="MayBeApplied">Whether a write may have been applied all the same, now or later.</param>
/// <param name="BlamesToken">Whether a new authentication token may help.</param>
/// <param name="Exception">What was thrown.</param>
internal readonly record struct CallFailure(EtcdErrorCode Code, bool MayBeApplied, bool BlamesToken, Exception Exception)
{
    /// <summary>Whether another member, or another attempt, may do better.</summary>
    public bool TryElsewhere => BlamesToken || Code is EtcdErrorCode.Unavailable or EtcdErrorCode.Timeout or EtcdErrorCode.TlsFailure;

    /// <summary>Whether no other attempt can turn out otherwise. What etcd, or something before it, says of its own troubles decides nothing.</summary>
    public bool IsLastWord => !TryElsewhere && Code != EtcdErrorCode.ResourceExhausted && !(Code == EtcdErrorCode.Other && MayBeApplied);

    /// <summary>Whether nothing came at all. etcd also answers that something took too long.</summary>
    public bool IsSilence => Exception is TimeoutException;

    /// <summary>No answer within this time. Where gRPC was asked to end the call it calls that a cancellation by the client, which an operator would take for the application's.</summary>
    public static CallFailure Silence(TimeSpan time, Exception? exception) =>
        new(EtcdErrorCode.Timeout, MayBeApplied: true, BlamesToken: false, new TimeoutException($"no answer within {time.TotalSeconds:0.###} s.", exception));

    /// <param name="exception">What was thrown.</param>
    public static CallFailure Classify(Exception exception)
    {
        if (exception is not RpcException rpc)
            return new(EtcdErrorCode.Unavailable, MayBeApplied: true, BlamesToken: false, exception);

        var detail = rpc.Status.Detail ?? string.Empty;
        var cause = rpc.Status.DebugException ?? rpc.InnerException;
        if (Find<AuthenticationException>(cause) is not null)
            return new(EtcdErrorCode.TlsFailure, false, false, rpc);
        // With TLS 1.3 the server's refusal of a client certificate is an alert that arrives after the handshake.
        if (Find<CryptographicException>(cause) is not null)
            return new(EtcdErrorCode.TlsFailure, !detail.Contains("did not complete the HTTP/2 handshake", StringComparison.Ordinal), false, rpc);

        return rpc.StatusCode switch
        {
            // Something else answers there, such as a proxy that knows of no etcd, or of none that lives.
            StatusCode.Unimplemented => new(EtcdErrorCode.Unavailable, false, false, rpc),
            not StatusCode.Unavailable when detail.StartsWith("Bad gRPC response", StringComparison.Ordinal) => new(EtcdErrorCode.Unavailable, true, false, rpc),
            StatusCode.Unavailable when NeverSent(detail, cause) => new(EtcdErrorCode.Unavailable, false, false, rpc),
            StatusCode.Unavailable when detail.Contains("timed out", StringComparison.Ordinal) => new(EtcdErrorCode.Timeout, true, false, rpc),
            StatusCode.Unavailable => new(EtcdErrorCode.Unavailable, true, false, rpc),
            StatusCode.DeadlineExceeded => new(EtcdErrorCode.Timeout, true, false, rpc),
            StatusCode.Unauthenticated => new(EtcdErrorCode.AuthenticationFailed, false, true, rpc),
            // A JWT from before a change of the auth store; a new token is accepted.
            StatusCode.InvalidArgument when detail.Contains("auth store is old", StringComparison.Ordinal) => new(EtcdErrorCode.AuthenticationFailed, false, true, rpc),
            StatusCode.InvalidArgument when IsAuthentication(detail) => new(EtcdErrorCode.AuthenticationFailed, false, false, rpc),
            StatusCode.FailedPrecondition when IsAuthentication(detail) => new(EtcdErrorCode.AuthenticationFailed, false, false, rpc),
            StatusCode.PermissionDenied => new(EtcdErrorCode.PermissionDenied, false, false, rpc),
            StatusCode.InvalidArgument => new(EtcdErrorCode.InvalidRequest, false, false, rpc),
            StatusCode.ResourceExhausted when detail.Contains("larger than max", StringComparison.Ordinal) => new(EtcdErrorCode.InvalidRequest, false, false, rpc),
            StatusCode.ResourceExhausted when detail.Contains("too many requests", StringComparison.Ordinal) => new(EtcdErrorCode.ResourceExhausted, false, false, rpc),
            // etcd applies the write that fills its database, and answers only then that there is no space.
            StatusCode.ResourceExhausted => new(EtcdErrorCode.ResourceExhausted, true, false, rpc),
            StatusCode.OutOfRange when detail.Contains("compacted", StringComparison.Ordinal) => new(EtcdErrorCode.Compacted, false, false, rpc),
            StatusCode.NotFound when detail.Contains("lease", StringComparison.Ordinal) => new(EtcdErrorCode.LeaseNotFound, false, false, rpc),
            // By a leader that is handing over, before anything was done.
            StatusCode.Unknown when detail.Contains("raft proposal dropped", StringComparison.Ordinal) => new(EtcdErrorCode.Unavailable, false, false, rpc),
            // What a broken connection leaves behind, under several codes.
            StatusCode.Internal or StatusCode.Unknown or StatusCode.Cancelled or StatusCode.Aborted when cause is not null || rpc.StatusCode == StatusCode.Cancelled
                => new(EtcdErrorCode.Unavailable, true, false, rpc),
            _ => new(EtcdErrorCode.Other, rpc.StatusCode is StatusCode.Internal or StatusCode.Unknown, false, rpc),
        };
    }

    /// <summary>Whether etcd refused a lease because one with this id is there already.</summary>
    public static bool IsLeaseThere(EtcdException exception) =>
        exception.InnerException is RpcException { StatusCode: StatusCode.FailedPrecondition } rpc && rpc.Status.Detail.Contains("lease already exists", StringComparison.Ordinal);

    private static bool NeverSent(string detail, Exception? cause) =>
        detail.Contains("Error connecting to subchannel", StringComparison.Ordinal)
        || detail == "etcdserver: no leader"
        || Find<HttpRequestException>(cause) is { HttpRequestError: HttpRequestError.SecureConnectionError }
        || Find<SocketException>(cause) is { SocketErrorCode: SocketError.ConnectionRefused or SocketError.HostNotFound or SocketError.TryAgain or SocketError.NoData };

    private static bool IsAuthentication(string detail) =>
        detail.Contains("authentication", StringComparison.Ordinal) || detail.Contains("user name is empty", StringComparison.Ordinal);

    private static T? Find<T>(Exception? exception)
        where T : Exception
    {
        for (; exception is not null; exception = exception.InnerException)
        {
            if (exception is T found)
                return found;
        }

        return null;
    }

    public EtcdException ToException(string operation, bool isWrite, string endpoints)
    {
        var reason = Exception is RpcException rpc ? rpc.Status.Detail : Exception.Message;
        if (Exception is RpcException { Status.DebugException: { } cause } && !reason.Contains(cause.Message, StringComparison.Ordinal))
            reason = $"{reason} ({(cause.GetBaseException()).Message})";
        if (reason.Length > 0 && !char.IsPunctuation(reason[^1]))
            reason += '.';
        var unknown = isWrite && MayBeApplied;
        var advice = Code switch
        {
            EtcdErrorCode.Unavailable when reason.Contains("SSL connection", StringComparison.Ordinal) => "Check that etcd runs there and speaks TLS, as https says.",
            // What is left of it where the runtime loses the server's refusal of a client certificate, or speaks plain to TLS.
            EtcdErrorCode.Unavailable when reason.Contains("complete the HTTP/2 handshake", StringComparison.Ordinal) => "Check that etcd runs there, whether it speaks http or https, and whether it demands a client certificate.",
            EtcdErrorCode.Unavailable => "Check that etcd runs, has a quorum and listens there.",
            EtcdErrorCode.Timeout => "etcd, or the network to it, is overloaded, frozen or without a quorum.",
            EtcdErrorCode.TlsFailure => "Check CaCertificateFile, ServerName and the client certificate, and that the endpoint speaks TLS.",
            EtcdErrorCode.AuthenticationFailed => "Check UserName and Password, and that authentication is enabled in etcd exactly when they are given.",
            EtcdErrorCode.PermissionDenied => "Grant the user a role with read and write permission on the key prefix.",
            EtcdErrorCode.InvalidRequest => "The request is refused as it is; repeating it does not help.",
            EtcdErrorCode.ResourceExhausted => "Compact, defragment and disarm the alarm if the database is full.",
            EtcdErrorCode.Compacted => "Read the present state and go on from there.",
            EtcdErrorCode.LeaseNotFound => "The lease has expired or was revoked.",
            _ => "See the inner exception.",
        };
        return new EtcdException(
            Code,
            operation,
            $"etcd {operation} failed at {endpoints}: {reason} {(unknown ? "The write may have been applied. " : string.Empty)}{advice}",
            unknown,
            Exception);
    }
}
