using System.CodeDom.Compiler;
using System.Reflection;
using System.Runtime.CompilerServices;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>What holds for all types of the library, those to come included.</summary>
public sealed class HouseRuleTests
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Assembly Library = typeof(EtcdConnection).Assembly;

    public static TheoryData<string> Durations => [.. typeof(EtcdOptions).GetProperties().Where(property => property.PropertyType == typeof(TimeSpan)).Select(property => property.Name)];

    [Fact]
    public void Classes_ThatCanBeMade_AreSealed() =>
        Assert.DoesNotContain(Library.GetTypes(), type => type is { IsClass: true, IsAbstract: false, IsSealed: false } && !IsGenerated(type));

    [Fact]
    public void PublicTypes_Live_WhereUsersLookForThem() => Assert.All(Library.GetExportedTypes().Where(type => !IsGenerated(type)), type =>
    {
        var isExtensions = type.IsDefined(typeof(ExtensionAttribute), inherit: false);
        var isOptions = type.Name.EndsWith("Options", StringComparison.Ordinal) || type.Name.EndsWith("OptionsValidator", StringComparison.Ordinal);
        Assert.Equal(isExtensions ? "Orleans.Hosting" : isOptions ? "Orleans.Configuration" : "Orleans.Etcd", type.Namespace);
    });

    [Theory]
    [MemberData(nameof(Durations))]
    public void Duration_OutOfRange_IsRefusedByName(string option)
    {
        var property = typeof(EtcdOptions).GetProperty(option)!;
        TimeSpan[] bad = [TimeSpan.MinValue, TimeSpan.FromSeconds(-5), Timeout.InfiniteTimeSpan, TimeSpan.FromTicks(-1), TimeSpan.Zero, TimeSpan.MaxValue];
        Assert.All(bad, duration =>
        {
            var options = new EtcdOptions { Endpoints = { "http://a:1" } };
            Assert.True(new EtcdOptionsValidator().Validate(null, options).Succeeded);
            property.SetValue(options, duration);
            Assert.StartsWith($"EtcdOptions.{option} ", Assert.Single(new EtcdOptionsValidator().Validate(null, options).Failures ?? []));
        });
    }

    [Fact]
    public void PublicMembers_Show_NothingOfGrpc()
    {
        var shown = from type in Library.GetExportedTypes()
                    from exposed in type.GetMembers(Declared).Where(IsVisible).SelectMany(Types).Append(type.BaseType)
                    from part in Parts(exposed)
                    where part.Namespace is { } name && (name == "Grpc" || name.StartsWith("Grpc.", StringComparison.Ordinal))
                    select $"{type} shows {part}";
        Assert.Empty(shown);
    }

    private static bool IsGenerated(Type type) =>
        type.IsDefined(typeof(CompilerGeneratedAttribute)) || type.IsDefined(typeof(GeneratedCodeAttribute)) || (type.DeclaringType is { } outer && IsGenerated(outer));

    private static bool IsVisible(MemberInfo member) => member switch
    {
        MethodBase method => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly,
        FieldInfo field => field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly,
        // The accessors of properties and events are methods.
        _ => false,
    };

    private static IEnumerable<Type?> Types(MemberInfo member) => member switch
    {
        MethodInfo method => [method.ReturnType, .. method.GetParameters().Select(parameter => parameter.ParameterType)],
        MethodBase constructor => constructor.GetParameters().Select(parameter => parameter.ParameterType),
        FieldInfo field => [field.FieldType],
        _ => [],
    };

    /// <summary>A type and what it is composed of.</summary>
    private static IEnumerable<Type> Parts(Type? type) => type switch
    {
        null => [],
        { HasElementType: true } => Parts(type.GetElementType()),
        _ => [type, .. type.GetGenericArguments().Where(argument => !argument.IsGenericParameter).SelectMany(Parts)],
    };
}
