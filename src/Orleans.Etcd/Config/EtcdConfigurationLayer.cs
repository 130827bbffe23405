using System.Diagnostics.CodeAnalysis;

namespace Orleans.Etcd;

/// <summary>The keys under one prefix, as configuration.</summary>
public sealed class EtcdConfigurationLayer
{
    /// <summary>Makes a layer.</summary>
    public EtcdConfigurationLayer()
    {
    }

    /// <summary>Makes a layer.</summary>
    /// <param name="prefix">See <see cref="Prefix"/>.</param>
    [SetsRequiredMembers]
    public EtcdConfigurationLayer(string prefix) => Prefix = prefix;

    /// <summary>What the keys begin with, such as <c>app/shop/</c>; ends in a slash. The rest of a key, slashes as colons, is the configuration's key.</summary>
    public required string Prefix { get; set; }

    /// <summary>Under which section it comes, such as <c>Shop</c>. Default: at the root.</summary>
    public string Section { get; set; } = "";

    /// <summary>
    /// Whether values that begin with <c>{</c> or <c>[</c> are taken apart as JSON; one that cannot be is skipped. Default false: all values are text.
    /// </summary>
    public bool ParseJson { get; set; }
}
