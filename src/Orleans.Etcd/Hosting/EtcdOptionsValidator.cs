using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.Extensions.Options;
using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>
/// Checks <see cref="EtcdOptions"/> as a whole and reports every failure at once, each with the name of its option.
/// </summary>
public sealed class EtcdOptionsValidator : IValidateOptions<EtcdOptions>
{
    private const int MaxKeyPrefixLength = 512;

    /// <inheritdoc />
    public ValidateOptionsResult Validate(string? name, EtcdOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var failures = new List<string>();
        ValidateEndpoints(options, failures);
        ValidateKeyPrefix(options, failures);
        ValidateCredentials(options, failures);
        ValidateTls(options, failures);
        OptionRange.Check(Name(nameof(options.RequestTimeout)), options.RequestTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(5), failures);
        OptionRange.Check(Name(nameof(options.ConnectTimeout)), options.ConnectTimeout, TimeSpan.FromMilliseconds(50), TimeSpan.FromMinutes(1), failures);
        OptionRange.Check(Name(nameof(options.KeepAlivePingDelay)), options.KeepAlivePingDelay, TimeSpan.FromSeconds(6), TimeSpan.FromMinutes(10), failures);
        OptionRange.Check(Name(nameof(options.KeepAlivePingTimeout)), options.KeepAlivePingTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1), failures);
        OptionRange.Check(Name(nameof(options.MaxReconnectBackoff)), options.MaxReconnectBackoff, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1), failures);
        OptionRange.Check(Name(nameof(options.WatchProgressInterval)), options.WatchProgressInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10), failures);
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }

    private static void ValidateEndpoints(EtcdOptions options, List<string> failures)
    {
        if (options.Endpoints is not { Count: > 0 })
        {
            failures.Add($"{Name(nameof(options.Endpoints))} is empty: give at least one client URL of etcd, such as http://127.0.0.1:2379.");
            return;
        }

        var schemes = new HashSet<string>(StringComparer.Ordinal);
        foreach (var endpoint in options.Endpoints)
        {
            if (!Uri.TryCreate(endpoint, UriKind.Absolute, out var uri) || (uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps) || uri.Host.Length == 0)
            {
                failures.Add($"{Name(nameof(options.Endpoints))} has '{QuoteUrl(endpoint)}', which is not a URL of the form http://host:port or https://host:port.");
                continue;
            }

            if (uri.UserInfo.Length > 0)
                failures.Add($"{Name(nameof(options.Endpoints))} has user information in the URL of host '{uri.Host}': use {nameof(options.UserName)} and {nameof(options.Password)}.");
            else if (uri.PathAndQuery != "/" || uri.Fragment.Length > 0)
                failures.Add($"{Name(nameof(options.Endpoints))} has '{Quote(endpoint)}', which must not have a path or a query.");
            schemes.Add(uri.Scheme);
        }

        if (schemes.Count > 1)
            failures.Add($"{Name(nameof(options.Endpoints))} mixes http and https: use one of them for all members.");
    }

    private static void ValidateKeyPrefix(EtcdOptions options, List<string> failures)
    {
        var prefix = options.KeyPrefix;
        if (string.IsNullOrEmpty(prefix) || prefix.Length > MaxKeyPrefixLength)
            failures.Add($"{Name(nameof(options.KeyPrefix))} must have 1 to {MaxKeyPrefixLength} characters.");
        else if (prefix[0] == '/' || prefix[^1] == '/')
            failures.Add($"{Name(nameof(options.KeyPrefix))} must not begin or end with a slash.");
        else if (prefix.Any(char.IsControl) || !EtcdKeys.IsUtf8(prefix))
            failures.Add($"{Name(nameof(options.KeyPrefix))} must be valid Unicode without control characters.");
    }

    private static void ValidateCredentials(EtcdOptions options, List<string> failures)
    {
        if (string.IsNullOrEmpty(options.UserName) && !string.IsNullOrEmpty(options.Password))
            failures.Add($"{Name(nameof(options.Password))} is given without {nameof(options.UserName)}.");
        if (!string.IsNullOrEmpty(options.UserName) && string.IsNullOrEmpty(options.Password))
            failures.Add($"{Name(nameof(options.UserName))} is given without {nameof(options.Password)}.");
    }

    private static void ValidateTls(EtcdOptions options, List<string> failures)
    {
        var plain = options.Endpoints is { Count: > 0 } && options.Endpoints.All(e => e is not null && e.StartsWith("http://", StringComparison.OrdinalIgnoreCase));
        foreach (var (option, given) in new[]
        {
            (nameof(options.CaCertificateFile), options.CaCertificateFile is not null),
            (nameof(options.ClientCertificateFile), options.ClientCertificateFile is not null),
            (nameof(options.ClientKeyFile), options.ClientKeyFile is not null),
            (nameof(options.ClientCertificate), options.ClientCertificate is not null),
            (nameof(options.ServerName), options.ServerName is not null),
        })
        {
            if (plain && given)
                failures.Add($"{Name(option)} is given, but the endpoints are http: nothing would be encrypted or checked. Use https endpoints.");
        }

        if (options.ClientCertificateFile is null != options.ClientKeyFile is null)
            failures.Add($"{Name(nameof(options.ClientCertificateFile))} and {nameof(options.ClientKeyFile)} must be given together.");
        if (options.ClientCertificate is not null && options.ClientCertificateFile is not null)
            failures.Add($"{Name(nameof(options.ClientCertificate))} and {nameof(options.ClientCertificateFile)} are both given: use one.");
        if (options.ClientCertificate is { HasPrivateKey: false })
            failures.Add($"{Name(nameof(options.ClientCertificate))} has no private key.");
        if (options.ServerName is not null && Uri.CheckHostName(options.ServerName) == UriHostNameType.Unknown)
            failures.Add($"{Name(nameof(options.ServerName))} '{Quote(options.ServerName)}' is not a host name.");

        Readable(nameof(options.CaCertificateFile), options.CaCertificateFile, static file => new X509Certificate2Collection().ImportFromPemFile(file), failures);
        if (options.ClientCertificateFile is not null && options.ClientKeyFile is not null)
        {
            Readable(
                nameof(options.ClientCertificateFile),
                options.ClientCertificateFile,
                file =>
                {
                    X509Certificate2.CreateFromPemFile(file, options.ClientKeyFile).Dispose();
                    new X509Certificate2Collection().ImportFromPemFile(file);
                },
                failures);
        }
    }

    private static void Readable(string option, string? file, Action<string> read, List<string> failures)
    {
        if (file is null)
            return;
        try
        {
            read(file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
        {
            failures.Add($"{Name(option)} '{Quote(file)}' cannot be used as a PEM file: {exception.Message}");
        }
    }

    /// <summary>As <see cref="Quote"/>, without what may be a user and a password.</summary>
    private static string QuoteUrl(string? value) => Quote(value is null ? null : value[(value.LastIndexOf('@') + 1)..]);

    private static string Name(string option) => $"{nameof(EtcdOptions)}.{option}";

    /// <summary>A value as it may stand in a message: short, on one line.</summary>
    private static string Quote(string? value)
    {
        var text = new StringBuilder();
        foreach (var c in (value ?? string.Empty).Take(200))
            text.Append(char.IsControl(c) ? '?' : c);
        return text.ToString();
    }
}
